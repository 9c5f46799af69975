"""The campaign: inputs generated from the nodes' own schemas, each of which has to be a result or a clear sentence."""
