"""Which endpoint takes an attempt: endpoint set, selectors, breakers, outlier detection, retry budget."""
