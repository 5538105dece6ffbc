"""The arithmetic of Crossaisle: pure kernels that learn from events, recall candidates, rank them and fill slates."""
