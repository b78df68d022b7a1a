"""Every handler of the Gradio pages behind a permission: a hidden tab protects nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import gradio as gr

from loop.access import Permission
from loop.errors import LoopError
from ui.gate import person_of

Handler = Callable[..., Any]
# What `guard` is: tabs take it as an argument, so that a test may put another in its place.
Guard = Callable[[Permission, Handler], Handler]
# Marks what `guard` made, for the test that looks at every handler of the app.
GUARDED = "__second_look_permission__"


def guard(permission: Permission, function: Handler) -> Handler:
    """A Gradio handler that calls ``function(person, *inputs)`` if whoever asks may do this.

    The person comes from the request's session, never from the page. What `function` raises as a
    `LoopError`, and a refusal, are shown on the page in words.
    """

    def admitted(request: gr.Request) -> Any:
        person = person_of(request)
        person.acting(permission)
        return person

    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def stream(request: gr.Request, *inputs: Any) -> Iterator[Any]:
            try:
                yield from function(admitted(request), *inputs)
            except LoopError as error:
                raise shown(error) from error

        return _marked(stream, permission)

    @wraps(function)
    def handle(request: gr.Request, *inputs: Any) -> Any:
        try:
            return function(admitted(request), *inputs)
        except LoopError as error:
            raise shown(error) from error

    return _marked(handle, permission)


def shown(error: LoopError) -> gr.Error:
    return gr.Error(f"{error.message} {error.hint}".strip(), print_exception=False)


def _marked(handler: Handler, permission: Permission) -> Handler:
    # Gradio looks at the signature to find where the request goes.
    del handler.__wrapped__  # type: ignore[attr-defined]
    handler.__annotations__ = {"request": gr.Request}
    setattr(handler, GUARDED, permission)
    return handler
