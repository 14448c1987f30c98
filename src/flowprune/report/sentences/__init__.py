"""What each figure shows, in one sentence that its records support."""
