"""What records calls: the recorder, and one room per library that it listens to."""
