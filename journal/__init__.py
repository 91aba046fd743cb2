"""The store: records, events, fold, status, and the LMDB journal that keeps them."""
