"""What alerting decides: state machine, expressions, rules, routing. Pure: no clock, file, network or database."""
