"""A party process: the vendor's server, the hospital's client, and how they execute a Program."""
