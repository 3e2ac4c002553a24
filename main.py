"""What does a network look at, asked for the species and asked for the family?

python main.py --mode=train --rank=family
python main.py --mode=compare --ranks=species,family
"""

from hiercam_keras.__main__ import main

if __name__ == "__main__":
    main()
