"""`python -m fastrpc`."""

from fastrpc.cli.main import main

if __name__ == "__main__":
    main()
