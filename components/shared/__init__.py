"""Code that two or more steps use. It never imports kfp or a step."""
