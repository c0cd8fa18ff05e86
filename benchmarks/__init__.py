"""How fast gpublur and its peers are, and how right: see README.md here."""
