"""MovieLens-100k as GroupLens ships it, turned into the three files that the shipped config reads."""

from pathlib import Path

import pandas as pd

from feature_repo.errors import DataError

GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""In the order of the flags of `u.item`."""


def convert_grouplens(source: Path, target: Path) -> None:
    """Converts `u.data`, `u.user` and `u.item`.

    Args:
        source: folder that holds them.
        target: folder that gets ml-100k.inter, ml-100k.user and ml-100k.item: tab-separated, UTF-8, a header with
            the type of each column.

    Raises:
        DataError: a file is not laid out as GroupLens' README says.
    """
    ratings = _read(source / "u.data", "\t", 4)
    ratings.columns = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    users = _read(source / "u.user", "|", 5)
    users.columns = ["user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"]
    films = _read(source / "u.item", "|", 5 + len(GENRES))
    # "Postino, Il (1994)": the year stands behind the title, and behind the release date "01-Jan-1994".
    title = films[1].str.extract(r"^(?P<name>.*?)\s*(?:\((?P<year>\d{4})\))?$")
    flags = films.iloc[:, 5:].eq("1")
    names = pd.Series([f"{genre} " for genre in GENRES], index=flags.columns)
    items = pd.DataFrame(
        {
            "item_id:token": films[0],
            "movie_title:token_seq": title["name"],
            "release_year:token": title["year"].fillna(films[2].str[-4:]),
            "class:token_seq": flags.dot(names).str.strip(),
        }
    )
    for frame, name in ((ratings, "ml-100k.inter"), (users, "ml-100k.user"), (items, "ml-100k.item")):
        frame.to_csv(target / name, sep="\t", index=False)


def _read(path: Path, delimiter: str, width: int) -> pd.DataFrame:
    """All fields as text, "" where absent."""
    try:
        frame = pd.read_csv(
            path, sep=delimiter, header=None, dtype=str, keep_default_na=False, encoding="latin-1", quoting=3
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}. Unpack ml-100k again.") from error
    if frame.shape[1] != width:
        raise DataError(f"{path} must have {width} fields a line. Received: {frame.shape[1]}. Unpack ml-100k again.")
    return frame
