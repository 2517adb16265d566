"""Studies of the backbones themselves: their table, their page, what a file fits, their claims."""
