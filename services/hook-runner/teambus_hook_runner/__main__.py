"""`python -m teambus_hook_runner`: the service."""

from teambus_hook_runner.main import main

if __name__ == "__main__":
    main()
