"""Networks that find the brain; torch is imported only in these modules."""
