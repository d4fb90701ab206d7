"""The regulator's feed: reduction progress over HTTP, each figure traceable to commits, factors and kernels."""
