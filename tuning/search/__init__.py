"""What is tried next, what is cut, and which loss comes next. No Ray: all of it runs without one."""
