"""Every option: name, default, meaning. A TOML file, then HEADWATER_* in the environment, then the command line.

`docs/reference/settings.md` is generated from this file. Sizes are in bytes and times in seconds unless the name says
otherwise; limits carry their reason in the description.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from headwater.ground.errors import Invalid

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
DAY_S = 86_400


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    # where
    data: Annotated[str, Meta(description="Folder that holds everything: database, git repositories, store, keys.")] = (
        "headwater-data"
    )
    host: Annotated[
        str, Meta(description="Address to listen on; 0.0.0.0 or :: stands for all addresses of the machine.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 8411
    public_url: Annotated[
        str,
        Meta(
            description="The URL under which clients reach the hub, with a path prefix if there is one. All links are "
            "made from it and never from a request's Host header. Default: http://HOST:PORT; where HOST stands for all "
            "addresses, one that the machine has."
        ),
    ] = ""
    trusted_proxies: Annotated[
        str,
        Meta(description="Comma-separated addresses whose X-Forwarded-For names the client. Empty: none is believed."),
    ] = ""
    accel_redirect_prefix: Annotated[
        str,
        Meta(
            description="If set (say /_blobs/), whole stored files are answered with X-Accel-Redirect under this "
            "prefix, for nginx to send from DATA/store/ by itself."
        ),
    ] = ""

    # limits on uploads
    inline_file_max: Annotated[
        int, Meta(description="A file without LFS or Xet may be this large: the Hub's 10 MiB rule.")
    ] = 10 * MIB
    commit_lines_max: Annotated[int, Meta(description="Operations in one commit.")] = 100_000
    commit_body_max: Annotated[int, Meta(description="Bytes of one commit request; it is read line by line.")] = 4 * GIB
    lfs_file_max: Annotated[int, Meta(description="One LFS or Xet file, refused before a byte is sent.")] = 500 * 10**9
    lfs_batch_max: Annotated[int, Meta(description="Objects in one LFS batch request; git-lfs sends 100.")] = 1000
    lfs_part_size: Annotated[
        int, Meta(ge=1, description="Part size of LFS multipart uploads; larger files than this are offered in parts.")
    ] = 512 * MIB
    push_max: Annotated[int, Meta(description="Bytes of one git push (packs hold no LFS content).")] = 2 * GIB
    shard_max: Annotated[int, Meta(description="One Xet shard; what old clients send may exceed 64 MiB.")] = 96 * MIB
    json_body_max: Annotated[int, Meta(description="Any other JSON request body.")] = 8 * MIB
    upload_grace_s: Annotated[int, Meta(description="An upload that no commit names is collected after this long.")] = (
        7 * DAY_S
    )
    xorb_keep_s: Annotated[
        int,
        Meta(
            description="An unused xorb stays this long after it was last uploaded or offered, since clients remember "
            "xorbs for three weeks."
        ),
    ] = 28 * DAY_S

    undelete_s: Annotated[
        int, Meta(ge=0, description="A deleted repo can be brought back for this long; its bytes stay meanwhile.")
    ] = 7 * DAY_S

    # sealing
    seal: Annotated[
        bool,
        Meta(
            description="Seal stored files in the background: encode their tensors against related ones, prove that "
            "they come back bit for bit, and drop the raw bytes after a while."
        ),
    ] = True
    seal_grace_s: Annotated[
        int, Meta(ge=0, description="The raw bytes of a sealed file are kept this much longer.")
    ] = DAY_S
    seal_depth_max: Annotated[
        int, Meta(ge=0, le=16, description="How many tensors may have to be decoded, one from the other, to read one.")
    ] = 3
    seal_margin_percent: Annotated[
        float, Meta(ge=0, lt=100, description="A file that would shrink by less than this stays as it is.")
    ] = 3.0
    seal_cpu_s: Annotated[
        float, Meta(gt=0, description="CPU time for choosing how to encode one tensor; then the cheapest way is taken.")
    ] = 600.0
    seal_memory_bytes: Annotated[
        int, Meta(ge=16 * MIB, description="Memory for encoding one tensor, in the sealing process.")
    ] = 64 * MIB
    second_copy_from: Annotated[
        int,
        Meta(
            ge=0,
            description="A tensor that at least this many others stand on is kept twice, in two packs; 0: none is.",
        ),
    ] = 10
    raw_cache_bytes: Annotated[
        int, Meta(ge=0, description="Raw bytes of sealed files that are read often may take this much disk.")
    ] = 10 * GIB
    block_cache_bytes: Annotated[
        int, Meta(ge=0, description="Memory for decoded blocks of sealed files (2 MiB each).")
    ] = 64 * MIB

    # limits on connections
    threads: Annotated[int, Meta(ge=1, le=256, description="Worker threads for requests.")] = 16
    header_timeout_s: Annotated[
        float, Meta(gt=0, description="A request's headers must be complete within this time (slowloris).")
    ] = 15.0
    idle_timeout_s: Annotated[
        float, Meta(gt=0, description="A body that stands still for this long, either way, ends the connection.")
    ] = 60.0
    keep_alive_s: Annotated[float, Meta(gt=0, description="An idle connection is kept open for this long.")] = 20.0
    connections_max: Annotated[int, Meta(ge=1, description="Open connections; further ones are refused.")] = 2000
    header_bytes_max: Annotated[int, Meta(description="All headers of one request; more answers 431.")] = 64 * KIB
    url_bytes_max: Annotated[int, Meta(description="The request line's URL; more answers 414.")] = 16 * KIB
    stop_grace_s: Annotated[float, Meta(ge=0, description="On SIGTERM, running transfers get this long to finish.")] = (
        30.0
    )
    busy_wait_s: Annotated[
        float, Meta(gt=0, description="A write waits this long for the database, then answers 503.")
    ] = 10.0

    # people
    token_cache_s: Annotated[
        float, Meta(ge=0, le=5, description="A decision about a token is remembered for this long (5 s at most).")
    ] = 2.0
    session_s: Annotated[int, Meta(description="A browser session lasts this long.")] = 14 * DAY_S
    signin_link_s: Annotated[int, Meta(description="The one-time sign-in link lasts this long.")] = DAY_S
    signin_tries_max: Annotated[
        int, Meta(ge=1, description="Failed sign-ins per account or address in ten minutes before 429.")
    ] = 10
    default_visibility: Annotated[
        str, Meta(pattern="^(public|private)$", description="Visibility of a new repo whose creator did not say.")
    ] = "public"

    # xet
    xet_token_s: Annotated[
        int, Meta(ge=120, description="Lifetime of a Xet token; clients refresh 30 to 60 s before the end.")
    ] = 900
    signed_url_s: Annotated[
        int,
        Meta(ge=60, description="Lifetime of signed upload and range URLs; those of large LFS uploads live longer."),
    ] = 3600

    # log
    log_level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="Lines of this level and above are written.")
    ] = "info"
    log_json: Annotated[bool, Meta(description="Log lines as JSON instead of text.")] = False

    @property
    def base_url(self) -> str:
        """The public URL without a trailing slash."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


_ADDRESS = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?\Z", re.IGNORECASE)


def load(file: Path | None, environ: Mapping[str, str], given: Mapping[str, Any]) -> Settings:
    """Defaults, then the TOML `file`, then HEADWATER_* of `environ`, then what was `given` on the command line."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values.update(tomllib.loads(file.read_text()))
        except (OSError, ValueError) as error:  # the second: not TOML, or not UTF-8
            raise Invalid(f"settings file {file}: {error}") from error
    hints = get_type_hints(Settings)
    for name in hints:
        text = environ.get(f"HEADWATER_{name.upper()}")
        if text is not None:
            values[name] = text
    values.update({name: value for name, value in given.items() if value is not None})
    try:
        # strict=False reads numbers and booleans out of the environment's text
        made = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"settings: {error}; see docs/reference/settings.md") from error
    if made.public_url and not _ADDRESS.match(made.public_url):
        raise Invalid(
            f"settings: public_url: {made.public_url[:200]!r} is no address that links can begin with: it has to be "
            "http:// or https://, a host, and a path at most"
        )
    return made


def from_environment(**given: Any) -> Settings:
    """The settings of a command: HEADWATER_CONFIG names the TOML file."""
    file = os.environ.get("HEADWATER_CONFIG")
    return load(Path(file) if file else None, os.environ, given)
