"""The choice of endpoints for attempts: endpoint set, selectors, breakers, outlier detection, retry budget."""
