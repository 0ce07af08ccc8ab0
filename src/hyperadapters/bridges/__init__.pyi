"""What other packages use of this one; each name is imported when it is first used."""
