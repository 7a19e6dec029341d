"""Campaign: many submissions on many protocols, as jobs that Snakemake runs (docs/campaigns.md)."""
