"""How the formats are spelt: requests, answers, errors, and what they are made of. The files are named by format."""
