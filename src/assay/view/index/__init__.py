"""An index of one run's rollouts: SQLite with full-text search, beside the rollouts. Derived; made again when stale."""
