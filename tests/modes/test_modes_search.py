"""Scratch."""
import tiny_birds
def test_one(trained):
    said = tiny_birds.run("cam", trained.config, rank=("species",), search=True, split="val", fields={"search.report": "test", "search.faithfulness_images": 4})
    print(said)
    assert 0
