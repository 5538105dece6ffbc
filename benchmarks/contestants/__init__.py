"""The programs that B1 compares, each in a process of its own and each as a fair user of it would write it."""
