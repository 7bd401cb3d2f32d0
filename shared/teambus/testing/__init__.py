"""What teambus gives to its users' tests: a scripted model server and pytest fixtures."""
