"""What views get of a conditioning: their own part of everything that is tied to places."""
