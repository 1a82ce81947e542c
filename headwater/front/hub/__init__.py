"""The Hub's JSON API: what huggingface_hub and its kin ask for. One file per noun; routes are in `front/routes.py`."""
