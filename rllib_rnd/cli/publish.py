"""``rllib publish``: an exported policy on the Hugging Face Hub; nothing leaves this machine unasked."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rllib_rnd.cli.export import in_bytes
from rllib_rnd.cli.runtime import say
from rllib_rnd.errors import ConfigError
from rllib_rnd.export.engines import missing_extra
from rllib_rnd.export.policy import read_config

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_HUB = "https://huggingface.co"
# The Hub takes no name that begins or ends with "-" or "." or has two of them side by side.
_REPO = re.compile(r"(?=.{3,96}$)(?!.*(--|\.\.))\w([\w.-]*\w)?/\w([\w.-]*\w)?(?<!\.git)", re.ASCII)


def publish(folder: str, repo: str, yes: bool = False, private: bool = False) -> None:
    """Shows what would be uploaded, asks, and uploads.

    The token is that of ``hf auth login`` or of ``HF_TOKEN``; it is neither printed nor written.

    Args:
        folder: that ``rllib export`` wrote; of other files in it none is uploaded.
        repo: ``USER/NAME``, made if there is none.
        yes: do not ask.
        private: only its owner can see it.

    Raises:
        ConfigError: no exported policy, a name that cannot be one, no token, nobody to ask, or the Hub refuses.
    """
    files = exported_files(Path(folder).expanduser())
    check_repo(repo)
    api, token = _connect()
    sizes = {name: path.stat().st_size for name, path in files.items()}
    for name, size in sorted(sizes.items()):
        say(f"  {name:<18} {in_bytes(size):>9}")
    place = f"{api.endpoint}/{repo}"
    kind = "private" if private else "public"
    say(f"{len(sizes)} files, {in_bytes(sum(sizes.values()))}, to {place} ({kind} if it is made now)")
    if not yes and not _agreed():
        say("nothing was uploaded")
        return
    try:
        _upload(api, Path(folder).expanduser(), repo, sorted(files), private)
    except ConfigError:
        raise
    except Exception as error:  # of the Hub's client, of the network below it
        reason = " ".join(str(error).replace(token, "***").split())[:300] or type(error).__name__
        raise ConfigError(f"--repo {repo}", f"the upload failed ({reason})") from None  # its cause may hold the token
    say(f"uploaded to {place}")


def exported_files(folder: Path) -> dict[str, Path]:
    """The files of an exported policy, by name.

    Raises:
        ConfigError: there is none, or a file of it is missing.
    """
    data = read_config(folder)
    if data is None:
        raise ConfigError(f"folder {folder}", "holds no exported policy", "a folder that `rllib export` wrote")
    files = {str(name): folder / str(name) for name in data.get("files", [])}
    missing = [name for name, path in files.items() if Path(name).name != name or not path.is_file()]
    if missing or not files:
        lacks = ", ".join(missing) or "its files"
        raise ConfigError(f"folder {folder}", f"lacks {lacks}", "a folder as it was exported")
    return files


def check_repo(repo: str) -> None:
    """Refuses what can be no repository of the Hub.

    Raises:
        ConfigError: it is not ``USER/NAME``.
    """
    name = repo.removeprefix(f"{_HUB}/")
    if not _REPO.fullmatch(repo):
        nearest = name if name != repo and _REPO.fullmatch(name) else None
        raise ConfigError(f"--repo {repo}", "is no name of a repository", "USER/NAME", nearest)


def _connect() -> tuple[HfApi, str]:
    """The Hub's client and the user's token.

    Raises:
        ConfigError: the package or the token is missing.
    """
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError as error:
        raise missing_extra("uploads", "hub", error) from error
    token = get_token()
    if not token:
        raise ConfigError("", "no token of the Hugging Face Hub is known: log in (hf auth login), or set HF_TOKEN")
    # Its default was read when the package was imported.
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None, token=token), token


def _agreed() -> bool:
    """Asks.

    Raises:
        ConfigError: nobody answers.
    """
    try:
        return typer.confirm("Upload?", default=False)
    except typer.Abort:
        raise ConfigError("", "nobody answered, so nothing was uploaded", "--yes to upload without asking") from None


def _upload(api: HfApi, folder: Path, repo: str, names: list[str], private: bool) -> None:
    """Makes the repository if there is none, and adds one commit.

    Raises:
        ConfigError: it is to be private and is there already for all to see.
    """
    api.create_repo(repo, private=private, exist_ok=True)
    if private and not api.model_info(repo).private:
        raise ConfigError("--private", f"{repo} is there already and public; nothing was uploaded", "another name")
    api.upload_folder(
        repo_id=repo, folder_path=folder, allow_patterns=names, commit_message="Policy exported by rllib_rnd"
    )
