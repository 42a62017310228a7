"""What MLflow is to show. The only package that imports mlflow."""
