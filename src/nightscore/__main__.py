"""`python -m nightscore` is the command `nightscore`."""

from nightscore.cli.main import main

if __name__ == "__main__":
    main()
