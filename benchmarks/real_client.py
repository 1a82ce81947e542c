"""Run by the real client's own Python, never by the benchmarks': one upload or download, timed without its start.

    python real_client.py upload REPO FOLDER | download REPO FOLDER

Prints the seconds as its last line. HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_XET_CACHE come from the environment.
"""

from __future__ import annotations

import sys
import time

from huggingface_hub import HfApi, snapshot_download


def main() -> None:
    verb, repo, folder = sys.argv[1:]
    begun_s = time.perf_counter()
    if verb == "upload":
        HfApi().upload_folder(repo_id=repo, folder_path=folder)
    else:
        snapshot_download(repo, local_dir=folder)
    print(time.perf_counter() - begun_s)


main()
