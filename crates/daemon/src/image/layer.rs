//! Recipes: what agents add to the base image.
