"""The pose regressor: torch and timm only, no paths and no files (but the ImageNet weights)."""
