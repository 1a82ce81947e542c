"""Xet CAS: tokens, grants, xorbs, shards, reconstructions, signed ranges, dedup answers; aliases of old clients."""
