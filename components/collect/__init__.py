"""The collect step: profile production images with the champion, and fetch the profile of its training sample."""
