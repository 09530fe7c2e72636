"""Who vouches for a manifest: signatures of OpenSSH, by `ssh-keygen -Y` (ssh-keygen(1), ALLOWED SIGNERS).

OpenSSH, because its keys are there already: in ~/.ssh, in an agent, on a hardware token. A signature covers the
manifest alone; the manifest's sums cover the rest.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeprune.errors import EdgepruneError

NAMESPACE = "edgeprune"
"""Part of what is signed, so that a signature made for something else (git, mail) does not count here."""
ENDING = ".sig"
MOST_BYTES = 64 << 10
SECONDS = 60


@dataclass(frozen=True)
class Vouched:
    """What was signed, by whom."""

    principal: str
    sha256: str


def sign(text: bytes, key: Path) -> bytes:
    """Sign with a private key, or with the public one of a key that an agent holds; asks for a passphrase itself.

    Raises:
        EdgepruneError: no such key, no ssh-keygen, or it refuses.
    """
    if not key.is_file():
        raise EdgepruneError(f"{key}: no key there. Give a key of ssh-keygen, as ~/.ssh/id_ed25519.")
    done = _keygen("sign", "-n", NAMESPACE, "-f", str(key), given=text, patient=True)
    if done.returncode != 0 or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise EdgepruneError(f"{key}: ssh-keygen does not sign with it ({_reason(done)}).")
    return done.stdout


def verify(text: bytes, signature: bytes, signers: Path, what: str) -> Vouched:
    """Say which of the allowed signers signed `text`; `what` is its name, for the fault.

    Args:
        text: the manifest.
        signature: what `sign` returned.
        signers: a file of allowed signers, one `NAME KEYTYPE KEY` a line.
        what: what is checked.

    Raises:
        EdgepruneError: nobody whom the file lists signed it, or something else than this.
    """
    if not signers.is_file():
        raise EdgepruneError(f"{signers}: no file of allowed signers there. Each of its lines is NAME KEYTYPE KEY.")
    with tempfile.NamedTemporaryFile(suffix=ENDING) as file:
        file.write(signature[:MOST_BYTES])
        file.flush()
        common = ("-s", file.name, "-f", str(signers))
        found = _keygen("find-principals", *common)
        names = found.stdout.decode("utf-8", "replace").splitlines() if found.returncode == 0 else []
        for name in names:
            done = _keygen("verify", *common, "-n", NAMESPACE, "-I", name, given=text)
            if done.returncode == 0:
                return Vouched(name, hashlib.sha256(text).hexdigest())
    if not names:
        raise EdgepruneError(f"{what}: signed by nobody whom {signers} lists. Do not use it, or add the signer's key.")
    raise EdgepruneError(f"{what}: is not what {names[0]} signed. Do not use it; fetch it again from where you trust.")


def read_signature(path: Path, what: str) -> bytes:
    """Read a signature file.

    Raises:
        EdgepruneError: there is none, or it is larger than signatures are.
    """
    try:
        if path.stat().st_size <= MOST_BYTES:
            return path.read_bytes()
    except OSError:
        pass
    raise EdgepruneError(f"{what}: is not signed ({path.name} is missing). Sign it with edgeprune package --sign KEY.")


def _keygen(
    verb: str, *arguments: str, given: bytes = b"", patient: bool = False
) -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", "-Y", verb, *arguments]
    try:
        return subprocess.run(
            command, input=given, capture_output=True, timeout=None if patient else SECONDS, check=False
        )
    except FileNotFoundError:
        raise EdgepruneError("ssh-keygen is not here. Install OpenSSH's client, 8.2 or later.") from None
    except subprocess.TimeoutExpired:
        raise EdgepruneError(f"ssh-keygen -Y {verb} took more than {SECONDS} s. Try again.") from None


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"
