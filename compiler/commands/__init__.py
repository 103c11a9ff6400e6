"""What the vendor's commands do. No party's process imports this: it imports the compiler."""
