"""What takes hours: ``make soak``. The tests have short versions of some of it."""
