"""Leave one domain out: how well does a network do on a source or surface that it was not trained on?"""
