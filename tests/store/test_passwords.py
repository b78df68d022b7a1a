from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from store.passwords import Argon2Passwords

# As the real one, but fast.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_a_password_is_kept_as_argon2id_in_rfc_9106s_low_memory_profile() -> None:
    hashed = Argon2Passwords().hash("a long sentence of mine")
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert Argon2Passwords().verify(hashed, "a long sentence of mine")


def test_only_the_password_itself_is_right() -> None:
    passwords = Argon2Passwords(CHEAP)
    hashed = passwords.hash("a long sentence of mine")
    assert passwords.verify(hashed, "a long sentence of mine")
    for wrong in ("a long sentence of minE", "", "a long sentence of mine "):
        assert not passwords.verify(hashed, wrong)
    assert hashed != passwords.hash("a long sentence of mine")


@pytest.mark.parametrize("hashed", [None, "", "not a hash", "$argon2id$v=19$m=8,t=1,p=1$x$y"])
def test_without_a_hash_no_password_is_right(hashed: str | None) -> None:
    passwords = Argon2Passwords(CHEAP)
    assert not passwords.verify(hashed, "the password of nobody")
    assert not passwords.verify(hashed, "")


def test_a_hash_with_other_parameters_still_counts_and_is_out_of_date() -> None:
    hashed = Argon2Passwords(CHEAP).hash("a long sentence of mine")
    assert Argon2Passwords().verify(hashed, "a long sentence of mine")
    assert Argon2Passwords().outdated(hashed)
    assert not Argon2Passwords(CHEAP).outdated(hashed)
