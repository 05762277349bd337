"""How fast each stage is, against what the machine can do: measured in turns, told as JSON."""
