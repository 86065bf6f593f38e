"""The image that the steps run in on a cluster; locally they run in the environment of the command line."""

STEP_IMAGE = "recloop/pipelines:0.1.0"
