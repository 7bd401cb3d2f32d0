"""`python -m teambus_gateway`: the service."""

from teambus_gateway.main import main

if __name__ == "__main__":
    main()
