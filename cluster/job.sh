#!/bin/sh
# sh cluster/job.sh GRACE COMMAND ...: what Ray runs on the head for a job from elsewhere.
#
# By the interpreter of Ray's own workers there, as the raylet that this descends from has it:
# `python` on the path of a node that was started as /opt/venv/bin/ray, without activating anything,
# is another one, or none.
set -eu
python=python
pid=$$
while [ "${pid:-0}" -gt 1 ] && [ -r "/proc/$pid/cmdline" ]; do
  found=$(tr '\0' '\n' < "/proc/$pid/cmdline" |
    sed -n -e 's/^--python_worker_command="\([^"]*\)".*/\1/p' \
      -e 's/^--python_worker_command=\([^" ]\{1,\}\).*/\1/p')
  if [ -x "$found" ]; then
    python=$found
    break
  fi
  pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
done
grace=$1
shift
exec "$python" -m cluster.job_runner - "$grace" "$python" -m cluster.job_entry "$@"
