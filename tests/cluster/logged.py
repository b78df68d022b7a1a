"""What is on record of everything that changes something: whoever adds a route, a command, a stage
or a handler enters it here, with the types of its events or with why it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

# The types of events, or in words why there is none.
Entry = tuple[str, ...] | str

LOOKS = "it only shows what is there"
WORKING_STATE = "drafts and leases are working state (docs/decisions.md)"
_SIGNED_IN = ("session.started",)
_ANSWERED = ("annotation.settled",)
_TRAINS = (
    *("kfold.started", "kfold.resumed", "kfold.ended"),
    *("fold.started", "fold.resumed", "fold.ended"),
    *("refit.started", "refit.resumed", "refit.ended"),
    *("model.registered", "gate.decided", "stage.failed"),
)
_TRAINS_ONCE = ("training.started", "training.resumed", "training.ended", "stage.failed")
_SNAPSHOT = ("snapshot.created", "stage.failed")
_SEARCHES = (
    *("search.started", "search.resumed", "search.ended", "search.applied"),
    *("search_trial.started", "search_trial.resumed", "search_trial.ended"),
    *("fold.started", "fold.ended"),
)
_ENDS_TRIAL = ("trial.stopped", "serving.ordered")
_PROMOTES = ("promotion.started", "promotion.ended", *_ENDS_TRIAL)
_ROLLS_BACK = ("model.rollback_started", "model.rolled_back", *_ENDS_TRIAL)
_APPROVES = ("promotion.approved", "promotion.approved_by_one", "promotion.refused")
_IMPORTS = (
    *("dataset.imported", "annotation.imported", "image.queued", "classes.defined"),
    "gold.grown",
)
_UP = (
    *("system.started", "system.stopped", "serving.removed", "settings.changed", "serving.ordered"),
    *("invitation.created", "api_key.created"),
)

API: Mapping[str, Entry] = {
    "POST /v1/detect": ("detection.served", "api_key.refused"),
    "POST /v1/images": ("image.queued", "api_key.refused"),
}

# And those GET routes of the app that change something.
APP: Mapping[str, Entry] = {
    "POST /sign-in": (*_SIGNED_IN, "session.refused", "account.locked"),
    "POST /welcome": ("invitation.used", "account.password_set", "account.created", *_SIGNED_IN),
    "POST /sign-out": ("session.ended",),
    "GET /auth/oidc/start": "it sends the browser on to the provider",
    "GET /auth/oidc/callback": (
        *_SIGNED_IN,
        *("session.refused", "account.created", "account.changed"),
    ),
    "POST /desk/next": ("case.opened",),
    "POST /desk/cases/{case_id}/open": ("case.opened",),
    "POST /desk/cases/{case_id}/draft": WORKING_STATE,
    "POST /desk/cases/{case_id}/heartbeat": WORKING_STATE,
    "POST /desk/cases/{case_id}/release": WORKING_STATE,
    "DELETE /desk/drafts/{draft_id}": WORKING_STATE,
    "POST /desk/cases/{case_id}/submit": ("correction.submitted", *_ANSWERED),
    "POST /desk/cases/{case_id}/reveal": ("second_review.revealed",),
    "POST /desk/cases/{case_id}/settle": ("second_review.submitted", *_ANSWERED),
    "POST /desk/cases/{case_id}/skip": ("case.skipped",),
    "POST /desk/cases/{case_id}/reopen": ("case.reopened",),
    "POST /desk/uploads": ("image.uploaded", "image.queued"),
    "POST /desk/imports": "the data set is still to come",
    "PUT /desk/imports/{import_id}/archive": _IMPORTS,
    "POST /audit/verify": ("audit.verified",),
    "POST /audit/verify-run": ("audit.verified",),
    "POST /audit/verify-model": ("audit.verified",),
    "POST /audit/export": ("evidence.built",),
}

HANDLERS: Mapping[str, Entry] = {
    "ui.progress._handler.<locals>.show": LOOKS,
    "ui.page._show.<locals>.show": LOOKS,
    "ui.impact._Page.show": LOOKS,
    "ui.impact._Page.choose": LOOKS,
    "ui.impact._Page.pictures": LOOKS,
    "ui.impact._Page.look_again": ("impact.measured",),
    "ui.training_start._Start.open": LOOKS,
    "ui.training_start._Start.look": LOOKS,
    "ui.training_start._Start.values": LOOKS,
    "ui.training_start._Start.start": ("training.requested",),
    "ui.training_runs._Runs.look": LOOKS,
    "ui.training_runs._Runs.log": LOOKS,
    "ui.training_runs._Runs.stop": ("training.stopped", "measurement.stopped"),
    "ui.training_compare._Compare.open": LOOKS,
    "ui.training_compare._Compare.wait": LOOKS,
    "ui.training_compare._Compare.show": LOOKS,
    "ui.training_compare._Compare.measure": ("measurement.requested",),
    "ui.training_decide._Decide.open": LOOKS,
    "ui.training_decide._Decide.show": LOOKS,
    "ui.training_decide._Decide.approve": _APPROVES,
    "ui.training_decide._Decide.refuse": ("promotion.refused",),
    "ui.training_decide._Decide.promote": _PROMOTES,
    "ui.training_decide._Decide.roll_back": _ROLLS_BACK,
    "ui.service._Acts.look": LOOKS,
    "ui.service._Acts.ask": LOOKS,
    "ui.service._Acts.stop": ("model.stopped",),
    "ui.service._Acts.resume": ("model.resumed",),
    "ui.people._Acts.look": LOOKS,
    "ui.people._Acts.choose": LOOKS,
    "ui.people._Acts.invite": ("account.created", "invitation.created"),
    "ui.people._Acts.save_roles": ("account.changed",),
    "ui.people._Acts.new_link": ("invitation.created",),
    "ui.people._Acts.switch": ("account.disabled", "account.enabled"),
    "ui.api_keys.KeyActs.look": LOOKS,
    "ui.api_keys.KeyActs.revoke": ("api_key.revoked",),
}

COMMANDS: Mapping[str, Entry] = {
    "up": _UP,
    # The process of `up`, which it ends, says so itself: system.stopped.
    "down": ("serving.removed",),
    "cluster env": LOOKS,
    "status": LOOKS,
    "doctor": LOOKS,
    "demo": "it is made of the other commands' use cases, in a home of its own",
    "init": "it makes a folder of settings outside the home",
    "import": _IMPORTS,
    "export": ("dataset.exported",),
    "detect": "the API does what it asks for, and says so",
    "snapshot create": _SNAPSHOT,
    "snapshot list": LOOKS,
    "snapshot show": LOOKS,
    "snapshot diff": LOOKS,
    "snapshot croissant": LOOKS,
    "gold list": LOOKS,
    "gold show": LOOKS,
    "gold add": ("gold.grown",),
    "gold import": _IMPORTS,
    "train kfold": _TRAINS,
    "train run": _TRAINS,
    "train search": _SEARCHES,
    "train stage": (*_SNAPSHOT, *_TRAINS, *_TRAINS_ONCE),
    "jobs submit": ("training.requested",),
    "jobs list": LOOKS,
    "jobs logs": LOOKS,
    "jobs stop": ("training.stopped", "measurement.stopped"),
    "jobs fetch": "it brings what is on record already into a workspace, outside the home",
    "models list": LOOKS,
    "models show": LOOKS,
    "models register": (
        *("model.registering", "model.registered", "classes.defined", "model.served"),
    ),
    "models compare": ("gate.decided",),
    "models measure": ("model.measured",),
    "models gate": LOOKS,
    "models approve": _APPROVES,
    "models promote": (*_PROMOTES, "trial.starting", "trial.started", "trial.failed"),
    "models rollback": _ROLLS_BACK,
    "models compare-labels": ("labels.compared",),
    "models quantise": ("model.quantising", "model.quantised", "model.registered"),
    "models verify": LOOKS,
    "keys env": ("keys.exported",),
    "models sign": ("model.signing", "model.signed"),
    "models trial": LOOKS,
    "models trial stop": _ENDS_TRIAL,
    "models stop": ("model.stopped",),
    "models resume": ("model.resumed",),
    "retention show": LOOKS,
    "retention purge": ("log.purged", "documents.purged", "image.erased"),
    "erase image": ("image.erased",),
    "erase subject": ("image.erased",),
    "oversight report": ("evidence.built",),
    "backup": ("backup.created",),
    "restore": ("backup.restored", "log.reindexed"),
    "audit tail": LOOKS,
    "audit show": LOOKS,
    "audit verify": ("audit.verified",),
    "audit verify-run": "looks at MLflow, and may be far from the log",
    "audit verify-model": "looks at MLflow, and may be far from the log",
    "audit reindex": ("log.reindexed",),
    "audit prove": LOOKS,
    "audit key": LOOKS,
    "audit serve": LOOKS,
    "audit export": ("evidence.built",),
    "audit trace": LOOKS,
    "audit witness": ("witness.refused",),
    # The file that it writes is the operator's own, and none of this system's state.
    "techfile init": LOOKS,
    "techfile build": ("evidence.built",),
    "users add": ("account.created", "account.password_set", "invitation.created"),
    "users list": LOOKS,
    "users disable": ("account.disabled",),
    "users enable": ("account.enabled",),
    "users roles": ("account.changed",),
    "users token create": ("api_key.created",),
    "users token list": LOOKS,
    "users token revoke": ("api_key.revoked",),
    "users token link": ("invitation.created",),
}

STAGES: Mapping[str, Entry] = {
    f"train.{prefix}{stage}": types
    for prefix in ("", "first_reviewer_")
    for stage, types in {
        "data_collection": _SNAPSHOT,
        "data_formatting": ("split.created", "stage.failed"),
        "model_training": _TRAINS_ONCE,
        "kfold_data_formatting": ("folds.created", "stage.failed"),
        "kfold_model_training": _TRAINS,
    }.items()
}

# Types that have their schema before what records them is there.
TO_COME: frozenset[str] = frozenset()
# What nobody asks for: the watch over trials, and benchmarks.
BY_ITSELF = frozenset({"trial.failed", "bench.recorded"})
