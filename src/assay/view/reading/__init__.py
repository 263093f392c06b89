"""One rollout as a person reads it: its conversations, what was found in its texts, and two of them side by side."""
