"""What makes the documentation: tables from the code, the site, and the guide's commands run as they stand."""
