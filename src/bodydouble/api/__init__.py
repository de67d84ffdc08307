"""What Python programs and notebooks use: `import bodydouble as bd`. Nothing here is imported before it is asked for."""
