"""What several stages share, a folder for those who have to run again when something in it changes."""
