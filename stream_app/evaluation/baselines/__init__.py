"""Methods of the textbook, in the protocol of the product, for its table to have something to beat."""
