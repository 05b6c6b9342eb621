"""What is told of the gateway's work: to logs now, to metrics and traces later."""
