"""The explain step: where a network looks, drawn for people and measured against known cracks."""
