"""What two steps or more use; never imports kfp, never imports a step."""
